"""Writes the pages of docs/reference, and the tables of docs/metrics.md, from the code.

python -m tools.reference           writes them
"""

from __future__ import annotations

from tools.reference.pages import every

if __name__ == "__main__":
    for path, text in every().items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path)
