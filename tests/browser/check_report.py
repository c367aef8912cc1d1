"""A report in a real browser: ``make check-browser``, or PYTHONPATH=tests python check_report.py.

    check_report.py [--ranking RANKING.JSON] [--shots FOLDER]

Without a ranking there are two, of classes and by error, with everything in them, and with names
that try to inject markup. A report loads from file:// in Chromium, without a console message and
without a further request; it sorts, filters, shows what is under the pointer; in light and dark, on
a desktop and on a phone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from report_documents import errors, full

from selector.records import AnyRanking
from selector.reports.document import read_any_ranking
from selector.reports.html.page import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1200, 900), (390, 844)
SCREENS = {
    "desktop-light": (DESKTOP, "light"),
    "desktop-dark": (DESKTOP, "dark"),
    "phone-light": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}
# Runs before the page: whatever manages to call it has been injected.
ALARM = "window.alarms = []; window.alert = (x) => window.alarms.push(x);"
HOVERED = ("tradeoff", "bounds", "displacement", "frontier")


def main() -> int:
    """Check every screen; the exit status is 1 where something is wrong."""
    options = _options()
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        print(f"check_report: a browser is required on PATH: one of {', '.join(BROWSERS)}.")
        return 2
    if options.ranking:
        documents = {"ranking": read_any_ranking(options.ranking)}
    else:
        documents = {"classes": full(), "errors": errors()}
    with tempfile.TemporaryDirectory() as folder, _browser(executable) as browser:
        for kind, document in documents.items():
            path = Path(folder) / f"{kind}.html"
            path.write_text(render(document), encoding="utf-8")
            for screen, (size, scheme) in SCREENS.items():
                name = f"{kind}-{screen}"
                _check(browser, path, document, name, size, scheme, options.shots)
                print(f"{name}: fine")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ranking", type=Path, help="a ranking of selector rank")
    parser.add_argument("--shots", type=Path, help="folder for pictures of the whole page")
    return parser.parse_args()


@contextmanager
def _browser(executable: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def _check(
    browser: Any,
    path: Path,
    document: AnyRanking,
    name: str,
    size: tuple[int, int],
    scheme: str,
    shots: Path | None,
) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    said: list[str] = []
    requested: list[str] = []
    page = context.new_page()
    page.add_init_script(ALARM)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 0")
    _all_is_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the screen"
    _follows_the_scheme(page, scheme)
    if shots:
        page.screenshot(path=shots / f"{name}.png", full_page=True)
    _names_are_text(page, document)
    _sorts(page)
    _filters(page, document)
    _draws_what_is_ticked(page)
    for chart in HOVERED:
        _tells_on_hovering(page, chart, document)
    assert page.evaluate("window.alarms") == [], "a name has run code"
    outside = [url for url in requested if url != path.as_uri() and not url.startswith("data:")]
    assert outside == [], f"asked for {outside}"
    assert said == [], f"the console says {said}"
    context.close()


def _all_is_drawn(page: Any) -> None:
    plots = page.locator(".plot")
    assert plots.count() >= 7
    for place in range(plots.count()):
        assert plots.nth(place).locator(".main-svg").count() > 0, f"chart {place} is empty"
    buttons = page.evaluate(
        "[...new Set([...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title))]"
    )
    # Nothing that would send a chart anywhere.
    known = {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}
    assert buttons and set(buttons) <= known, f"buttons {buttons}"


def _follows_the_scheme(page: Any, scheme: str) -> None:
    """Text is bright on dark and dark on bright, in the charts too, and after a change."""
    other = "light" if scheme == "dark" else "dark"
    for asked in (other, scheme):
        page.emulate_media(color_scheme=asked)
        page.wait_for_timeout(400)
        text = page.evaluate(
            "getComputedStyle(document.querySelector('#tradeoff .xtick text')).fill"
        )
        own = page.evaluate("getComputedStyle(document.body).color")
        assert text == own, f"a chart's text is {text}, the page's {own}"
        bright = int(own.removeprefix("rgb(").split(",")[0]) > 128
        assert bright == (asked == "dark"), f"{own} text in {asked}"


def _names_are_text(page: Any, document: AnyRanking) -> None:
    """A name is what it says, in the table and in the charts, and makes no element."""
    shown = page.locator("#standings tbody .text").all_text_contents()
    assert shown == [_printed(e.name) for e in document.ranking]
    assert page.locator(".plot a, .plot img, main img, main svg[onload]").count() == 0
    first = page.locator("#bounds .annotation-text").first.text_content()
    name = _printed(document.ranking[0].name)
    assert first == f"1 · {name}" or "…" in first, f"{first!r} for {name!r}"


def _printed(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def _sorts(page: Any) -> None:
    clean = page.locator("#standings thead th", has_text="clean").first
    place = clean.evaluate("th => th.cellIndex")
    keys = (
        "[...document.querySelectorAll('#standings tbody tr')]"
        f".map(row => Number(row.cells[{place}].dataset.sort))"
    )
    clean.locator("button").focus()
    page.keyboard.press("Enter")
    up = page.evaluate(keys)
    assert up == sorted(up), f"not sorted: {up}"
    assert clean.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    down = page.evaluate(keys)
    assert down == sorted(down, reverse=True), f"not sorted: {down}"
    assert clean.get_attribute("aria-sort") == "descending"
    assert page.locator("th[aria-sort]:not([aria-sort=none])").count() == 1
    page.locator("#standings thead button").first.evaluate("b => b.click()")


def _filters(page: Any, document: AnyRanking) -> None:
    visible = page.locator("#standings tbody tr:visible")
    page.fill("#filter", document.ranking[-1].name[:12])
    assert 1 <= visible.count() < len(document.ranking)
    assert page.text_content("#shown") == f"{visible.count()} of {len(document.ranking)} shown"
    page.fill("#filter", "no candidate has this")
    assert visible.count() == 0
    page.fill("#filter", "")
    page.select_option("#group", "1")
    assert visible.count() == sum(e.group == 1 for e in document.ranking)
    page.select_option("#group", "")
    assert visible.count() == len(document.ranking)


def _draws_what_is_ticked(page: Any) -> None:
    lines = page.locator(".triple .plot").first.locator(".scatterlayer .trace")
    before = lines.count()
    boxes = page.locator("#standings tbody input")
    assert before == sum(boxes.nth(place).is_checked() for place in range(boxes.count()))
    boxes.first.click()
    page.wait_for_timeout(200)
    assert lines.count() == before - 1
    boxes.first.click()
    page.wait_for_timeout(200)
    assert lines.count() == before


def _tells_on_hovering(page: Any, chart: str, document: AnyRanking) -> None:
    """What is under the pointer, with the whole name of a candidate, letter by letter."""
    marks = page.locator(f"#{chart} .points path")
    marks.first.scroll_into_view_if_needed()
    marks.first.hover(force=True)
    label = page.locator(f"#{chart} .hoverlayer .hovertext").first
    label.wait_for(timeout=5000)
    text = label.text_content()
    names = [_printed(e.name) for e in document.ranking]
    assert any(name in text for name in names), f"no name in {text!r}, in {chart}"
    page.mouse.move(0, 0)


if __name__ == "__main__":
    sys.exit(main())
