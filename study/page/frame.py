"""What a page says of itself once it is whole: the list of its sections, and what its browser may load."""

from __future__ import annotations

import base64
import hashlib
import re

POLICY_MARK = "the-policy-of-this-page"
_CONTENTS_MARK = "<!-- contents -->"
_HEADING = re.compile(r"<h2>([^<]+)</h2>")


def with_policy(html: str) -> str:
    """The page with its content-security policy: nothing is loaded, and only its own style and script count."""
    style, script = (html.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0] for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return html.replace(POLICY_MARK, policy, 1)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def with_contents(html: str) -> str:
    """The page with a list of its sections where the template wants it, each a link."""
    names = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section" for title in _HEADING.findall(html)]
    counts = [names[:place].count(name) for place, name in enumerate(names)]
    anchors = iter(f"{name}-{count + 1}" if count else name for name, count in zip(names, counts, strict=True))
    links: list[str] = []

    def titled(found: re.Match[str]) -> str:
        anchor = next(anchors)
        links.append(f'<li><a href="#{anchor}">{found[1]}</a></li>')
        return f'<h2 id="{anchor}">{found[1]}</h2>'

    html = _HEADING.sub(titled, html)
    contents = f'<nav class="contents" aria-label="Contents"><ol>{"".join(links)}</ol></nav>'
    return html.replace(_CONTENTS_MARK, contents, 1)
