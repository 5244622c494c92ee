from __future__ import annotations

import pytest

from reconciler.git.paths import PathRules, problem


@pytest.mark.parametrize(
    ("patterns", "meant", "not_meant"),
    [
        (["web/**"], ["web/a", "web/b/c.ts"], ["web", "x/web/a", "webs/a", "docs/web/x"]),
        (["web/main.go"], ["web/main.go", "web/main.go/below"], ["main.go", "x/web/main.go"]),
        (["/main.go"], ["main.go"], ["web/main.go"]),
        (["web"], ["web", "web/a/b", "x/web", "x/web/y"], ["webs", "x/webs/web2"]),
        (["web/"], ["web/a", "x/web/y"], ["web", "x/web"]),
        (["*.md"], ["README.md", "a/b/x.md", ".md", "dir.md/below"], ["md", "x.mdx", "a/md/b"]),
        (["web/*.ts"], ["web/a.ts"], ["web/b/a.ts", "a.ts"]),
        (["web/?.ts"], ["web/a.ts"], ["web/ab.ts", "web/.ts"]),
        (["web/[ab].ts"], ["web/a.ts"], ["web/c.ts"]),
        (["web/[!ab].ts", "lib/[^ab].ts"], ["web/c.ts", "lib/c.ts"], ["web/a.ts", "lib/b.ts"]),
        (["**/test/**"], ["test/a", "a/test/b", "a/b/test/c/d"], ["test", "a/test", "tests/a"]),
        (["**/foo.ts"], ["foo.ts", "a/b/foo.ts"], ["foo.tsx", "a/xfoo.ts"]),
        (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b", "a/x/b/c"], ["b", "x/a/b", "a/x"]),
        (["a/**/b/**/c"], ["a/b/c", "a/1/b/2/3/c", "a/b/b/c"], ["a/c/b", "a/b"]),
        (["**"], ["a", "a/b/c"], []),
        (["web/**", "!web/docs/**"], ["web/a", "web/x/docs/a"], ["web/docs/a", "web/docs/b/c"]),
        (["web/**", "!web/docs/**", "web/docs/api/**"], ["web/docs/api/x"], ["web/docs/a"]),
        (["!docs/**"], ["a", "web/docs/x"], ["docs/a"]),
        (["!*.md", "docs/**"], ["a", "docs/x.md"], ["README.md"]),
        (["web/*"], ["web/a", "web/b/c"], ["web"]),
        (["ä b/**"], ["ä b/c"], ["a b/c"]),
    ],
)
def test_which_files_are_meant(patterns: list[str], meant: list[str], not_meant: list[str]) -> None:
    """Each form of a pattern means what the table of docs/git.md says, and no more."""
    rules = PathRules(patterns)
    assert [path for path in meant if not rules.match(path)] == []
    assert [path for path in not_meant if rules.match(path)] == []


def test_no_pattern_means_nothing() -> None:
    """Without a pattern no file is meant."""
    assert not PathRules([]).match("a")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 3000),
        ("**/a/" * 40 + "b", "a/" * 500 + "c"),
        ("?*" * 100 + "!", "x" * 3000),
        ("**/*a*a*a*a*a*/" * 20 + "z", "/".join(["a" * 50] * 80)),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """A pattern that would have others count for years is answered like any."""
    rules = PathRules([pattern])
    for _ in range(10):
        assert not rules.match(path)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "names no path"),
        ("!", "names no path"),
        ("/", "names no path"),
        ("a/../b", "has an empty part"),
        ("./a", "has an empty part"),
        ("a//b", "has an empty part"),
        ("a\\b", "holds a backslash"),
        ("a\0b", "holds a backslash or NUL"),
        ("a" * 501, "is longer than 500"),
    ],
)
def test_what_is_no_pattern(pattern: str, said: str) -> None:
    """A pattern that cannot mean a file is told, and what would be right."""
    assert said in problem(pattern)


def test_what_is_a_pattern() -> None:
    """All that the documents show is one."""
    for pattern in ("web/**", "!web/docs/**", "/main.go", "*.md", "web/", "**", "**/test/**"):
        assert problem(pattern) == ""
