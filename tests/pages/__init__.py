"""What README, docs/ and examples/ say to type is typed: ``make check-docs`` runs every line."""
