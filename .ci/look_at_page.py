#!/usr/bin/env python3
"""Opens a page in headless Chromium as a reader would, and fails if it logs an error, asks the network for anything, is wider
than the screen, or does not answer to pointer and keys:
  .ci/look_at_page.py PAGE.html PICTURES
Pictures of it (light, dark, on a phone, printed) go to the folder PICTURES, to be looked at. Needs nothing but Python: it
speaks to Chromium through a pipe."""

import base64
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--hide-scrollbars",
    # Nor may the browser itself ask the network for anything.
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
]


class Browser:
    """A browser, and what has been heard of its one page."""

    def __init__(self, program, profile):
        reads, self.to = os.pipe()
        self.of, writes = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (reads, writes)]

        def pipes():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            command, preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for fd in (reads, writes, *high):
            os.close(fd)
        self.number, self.rest, self.session = 0, b"", None
        self.errors, self.requests, self.seen = [], [], set()

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.of, 1 << 20)
            if not more:
                raise SystemExit("Chromium has ended")
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def hear(self, message):
        method, params = message.get("method"), message.get("params", {})
        self.seen.add(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:400])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"])[:400])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.hear(answer)

    def open(self, url):
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.seen:
            self.hear(self.message())

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def screen(self, width, dark, path):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        time.sleep(0.3)
        # The height of all of it, so that nothing is beyond the picture.
        height = self.value("document.documentElement.scrollHeight")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        time.sleep(0.3)
        picture = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(picture))
        wide = self.value("document.documentElement.scrollWidth")
        if wide > width:
            self.errors.append(f"at a width of {width} the page is {wide} wide")

    def mouse(self, kind, x, y, clicks=1):
        pressed = 0 if kind == "mouseMoved" else 1
        button = "left" if kind != "mouseMoved" else "none"
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=pressed, clickCount=clicks)

    def use(self):
        """Reads a chart off, zooms into it and out again."""
        plots = self.value("document.querySelectorAll('figure.plot').length")
        if not plots:
            return
        self.value("document.querySelector('figure.plot').scrollIntoView({behavior: 'instant'})")
        box = self.value("(r => [r.left, r.top, r.width, r.height])(document.querySelector('.plot svg').getBoundingClientRect())")
        at = lambda part: (box[0] + part * box[2], box[1] + box[3] / 2)
        ticks = "[...document.querySelectorAll('.plot svg')][0].textContent"
        before = self.value(ticks)
        self.mouse("mouseMoved", *at(0.5))
        if not self.value("[...document.querySelectorAll('.tip')].some(t => !t.hidden && t.textContent)"):
            self.errors.append("a chart that is pointed at says nothing")
        self.mouse("mousePressed", *at(0.4))
        self.mouse("mouseMoved", *at(0.5))
        self.mouse("mouseMoved", *at(0.7))
        self.mouse("mouseReleased", *at(0.7))
        if self.value(ticks) == before:
            self.errors.append("a chart that is dragged across does not zoom")
        for clicks in (1, 2):
            self.mouse("mousePressed", *at(0.5), clicks)
            self.mouse("mouseReleased", *at(0.5), clicks)
        if self.value(ticks) != before:
            self.errors.append("a double click does not show the whole chart again")
        self.value("document.querySelector('.plot svg').focus()")
        self.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
        if not self.value("[...document.querySelectorAll('.tip')].some(t => !t.hidden && t.textContent)"):
            self.errors.append("an arrow key does not read a chart off")
        self.value("document.activeElement.blur()")
        for button in range(self.value("document.querySelectorAll('.plot button').length")):
            self.value(f"document.querySelectorAll('.plot button')[{button}].click()")
            self.value(f"document.querySelectorAll('.plot button')[{button}].click()")

    def print(self, path):
        self.ask("Emulation.setEmulatedMedia", features=[])
        self.ask("Emulation.clearDeviceMetricsOverride")
        pages = self.ask("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"]
        path.write_bytes(base64.b64decode(pages))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    page, pictures = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    program = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if not program:
        raise SystemExit("no Chromium here: apt-get install chromium")
    # Chromium's helpers may still write there for a moment after it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            browser.open(page.as_uri())
            browser.use()
            browser.screen(1280, False, pictures / "light.png")
            browser.screen(1280, True, pictures / "dark.png")
            browser.screen(375, False, pictures / "phone.png")
            browser.screen(375, True, pictures / "phone_dark.png")
            browser.print(pictures / "print.pdf")
        finally:
            browser.close()
    asked = [url for url in browser.requests if not url.startswith("data:") and url != page.as_uri()]
    faults = browser.errors + [f"asks the network for {url[:200]}" for url in asked]
    for fault in faults:
        print(f"{page}: {fault}", file=sys.stderr)
    print(f"{page.name}: {len(browser.requests)} requests, {len(asked)} of them to elsewhere, {len(browser.errors)} errors")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
