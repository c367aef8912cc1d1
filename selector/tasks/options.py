"""What the user says about a task beside its name: which columns, which splits."""

from __future__ import annotations

from dataclasses import dataclass

from selector.errors import UsageError, printable


@dataclass(frozen=True)
class TaskOptions:
    """Columns and splits by name; None is guessed where the task has any.

    Attributes:
        image_column: holds the images, or in a manifest their paths.
        label_column: holds the classes.
        train_split: heads are fitted on it.
        validation_split: hyperparameters are chosen on it.
        test_split: results are reported on it.
        target_columns: hold the numbers of a regression; none: a task of classes.
    """

    image_column: str | None = None
    label_column: str | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    target_columns: tuple[str, ...] = ()

    def refuse_columns(self, why: str) -> None:
        """Raise UsageError if a column is named; ``why`` says why there is none."""
        self._refuse(
            {
                "--image-column": self.image_column,
                "--label-column": self.label_column,
                "--target-column": next(iter(self.target_columns), None),
            },
            why,
        )

    def refuse_splits(self, why: str) -> None:
        """Raise UsageError if a split is named; ``why`` says why there is none."""
        self._refuse(self.splits, why)

    @property
    def splits(self) -> dict[str, str | None]:
        """The options that name splits, as the user writes them, and what they say."""
        return {
            "--train-split": self.train_split,
            "--validation-split": self.validation_split,
            "--test-split": self.test_split,
        }

    @staticmethod
    def _refuse(options: dict[str, str | None], why: str) -> None:
        for option, value in options.items():
            if value is not None:
                raise UsageError(
                    f"{option} must be left out: {why}; found {printable(value)}.",
                    hint="It is for tasks that are tables: hf:owner/name, .parquet, a saved"
                    " dataset, or a .csv, .tsv or .jsonl manifest.",
                )


NO_OPTIONS = TaskOptions()
