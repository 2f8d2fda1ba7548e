"""A browser at the other end of a pipe: run by the Python of .venv-browser, asked by `conftest.py`.

    [name, arguments, keywords]   ->   {"ok": value} or {"error": what Playwright said}

One JSON line each way. A name is a method of Playwright's page ("click", "inner_text", "keyboard.press"), or
one of the few below. Whatever a page logs as an error is kept, for a test to ask about with `errors`.
"""

import json
import shutil
import sys

from playwright.sync_api import Error, sync_playwright


class Browser:
    def __init__(self, play):
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        self.browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        self.context = self.page = None
        self.errors = []

    def open(self, url, **options):
        """A new page with nothing stored; options are those of a Playwright context."""
        if self.context:
            self.context.close()
        self.context = self.browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120000)  # a busy machine is no fault of the page
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)

    def saved(self, selector):
        """What a click saves as a file."""
        with self.page.expect_download() as started:
            self.page.click(selector)
        with open(started.value.path(), encoding="utf-8") as file:
            return file.read()

    def do(self, name, arguments, keywords):
        if hasattr(self, name):
            found = getattr(self, name)
            return found(*arguments, **keywords) if callable(found) else found
        target = self.page
        for part in name.split("."):
            target = getattr(target, part)
        return target(*arguments, **keywords)


def answer(browser, line):
    try:
        value = browser.do(*json.loads(line))
    except Error as error:
        return {"error": str(error)}
    plain = value is None or isinstance(value, (str, int, float, bool, list, dict))
    return {"ok": value if plain else None}


def main():
    with sync_playwright() as play:
        browser = Browser(play)
        for line in sys.stdin:
            print(json.dumps(answer(browser, line)), flush=True)
        browser.browser.close()


if __name__ == "__main__":
    main()
