#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A crawler with four tasklets and the plain, unpatched urllib, on a small site of its own.

    python examples/crawler.py

Shows: a library that knows nothing of tasklets. Each `urlopen` blocks, and
only the tasklet that called it; the four wait for four pages at a time. With
STACKLESS_THREADS=1 the result is the same, one page after the other.
"""

import http.server
import threading
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

import stackless

CRAWLERS = 4

PAGES = {
    "/": ("Home", ["/cats", "/dogs", "/about"]),
    "/about": ("About", ["/", "/staff"]),
    "/cats": ("Cats", ["/cats/tom", "/cats/felix", "/dogs"]),
    "/cats/tom": ("Tom", ["/cats"]),
    "/cats/felix": ("Felix", ["/cats", "/cats/tom", "/lost"]),
    "/dogs": ("Dogs", ["/dogs/rex", "/cats"]),
    "/dogs/rex": ("Rex", ["/", "/dogs"]),
    "/staff": ("Staff", []),
}


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = PAGES.get(self.path)
        if page is None:
            self.send_error(404)
            return
        title, links = page
        body = "<title>%s</title>" % title + "".join('<a href="%s">there</a>' % link for link in links)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


class Page(HTMLParser):
    """Title and links."""

    def __init__(self, text):
        super().__init__()
        self.title, self.links = "", []
        self.in_title = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.in_title = tag == "title"
        if tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_data(self, text):
        if self.in_title:
            self.title += text
            self.in_title = False


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = Page(answer.read().decode())
        return page.title, page.links
    except urllib.error.HTTPError as error:
        error.close()
        return "error %d" % error.code, []


def crawl(start):
    """{url: title} of all that can be reached from there."""
    todo = stackless.channel(capacity=1000)
    found = stackless.channel()

    def worker():
        for url in todo:
            found.send((url, *fetch(url)))

    for _ in range(CRAWLERS):
        stackless.tasklet(worker)()
    titles = {start: None}
    todo.send(start)
    waiting = 1
    while waiting:
        url, titles[url], links = found.receive()
        waiting -= 1
        for link in links:
            link = urllib.parse.urljoin(url, link)
            if link not in titles:
                titles[link] = None
                todo.send(link)
                waiting += 1
    todo.close()
    return titles


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    base = "http://127.0.0.1:%d" % server.server_port
    titles = crawl(base + "/")
    server.shutdown()
    server.server_close()
    for url in sorted(titles):
        print("%-12s %s" % (url[len(base):], titles[url]))


if __name__ == "__main__":
    main()
