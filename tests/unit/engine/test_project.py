from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from reconciler.engine import project
from reconciler.engine.project import ProjectError


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    (made / "infra" / "web").mkdir(parents=True)
    (made / "Pulumi.yaml").write_text("name: root\nruntime: yaml\n")
    (made / "infra" / "web" / "Pulumi.yml").write_text("name: web\nruntime: yaml\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Pulumi.yaml").write_text("name: canary\n")
    return made


def test_the_project_s_directory_is_found(clone: Path) -> None:
    """The root, a directory below it, and a link that stays inside are all fine."""
    (clone / "link").symlink_to("infra/web")
    assert project.locate(clone, "") == clone
    assert project.locate(clone, ".") == clone
    assert project.locate(clone, "infra/web") == clone / "infra" / "web"
    assert project.locate(clone, "link") == clone / "infra" / "web"
    project.check(project.locate(clone, "infra/web"), "web")


@pytest.mark.parametrize(
    ("repo_dir", "words"),
    [
        ("absent", "not in the repository"),
        ("..", "leads out"),
        ("../outside", "leads out"),
        ("link", "leads out"),
        ("loop", "not in the repository"),
        ("Pulumi.yaml", "no directory"),
        ("a" * 5000, "not in the repository"),
    ],
)
def test_directories_outside_are_refused(clone: Path, repo_dir: str, words: str) -> None:
    """What is not there, or not inside the clone after all links, is an error that says so."""
    (clone / "link").symlink_to(clone.parent / "outside")
    (clone / "loop").symlink_to("loop")
    with pytest.raises(ProjectError, match=words):
        project.locate(clone, repo_dir)


def test_a_clone_that_became_a_link_is_refused(clone: Path) -> None:
    """A link in the place of the clone itself leads nowhere."""
    clone.rename(clone.parent / "away")
    clone.symlink_to(clone.parent / "outside")
    with pytest.raises(ProjectError, match="replaced by a link"):
        project.locate(clone, "")


def test_another_project_is_refused(clone: Path) -> None:
    """A clone that holds another project names both."""
    with pytest.raises(ProjectError, match=r"'root'.*'web'"):
        project.check(clone, "web")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no Pulumi.yaml or Pulumi.yml"),
        ("runtime: yaml\n", "no 'name'"),
        ("other:\n  name: web\n", "no 'name'"),
        ("name: [web]\n", "no 'name'"),
        ("- name: web\n", "no 'name'"),
        ("a: b: c\n", "not YAML"),
        ("name: 'x\n", "not YAML"),
        ("", "no 'name'"),
    ],
)
def test_what_is_no_project_is_told(tmp_path: Path, content: str | None, words: str) -> None:
    """A directory without a project file, or with one that names no project, is an error."""
    if content is not None:
        (tmp_path / "Pulumi.yaml").write_text(content)
    with pytest.raises(ProjectError, match=words):
        project.check(tmp_path, "web")


@pytest.mark.parametrize(
    "content",
    [
        "name: web\n",
        "runtime:\n  name: nodejs\n  options: {a: [1, {b: c}]}\nname: web\n",
        "? [complex, key]\n: value\nname: web\n",
        "a: &x 1\nb: *x\n'name': \"web\"\n",
        "# comment\n---\nname: web\nname2: y\n",
    ],
)
def test_the_name_is_read_wherever_it_stands(tmp_path: Path, content: str) -> None:
    """The name at the top level counts, whatever is before it or has that key further in."""
    (tmp_path / "Pulumi.yaml").write_text(content)
    project.check(tmp_path, "web")


def test_hostile_project_files_cost_nothing(tmp_path: Path) -> None:
    """Aliases, depth and size are answered at once."""
    file = tmp_path / "Pulumi.yaml"
    bomb = "a: &a [x]\n" + "".join(f"k{n}: &b{n} [*a, *a, *a]\n" for n in range(100))
    begin = time.thread_time()
    for content in (bomb, "[" * 100_000, "x" * 5_000_000):
        file.write_text(content)
        with pytest.raises(ProjectError):
            project.check(tmp_path, "web")
    assert time.thread_time() - begin < 5


def test_a_project_file_that_is_a_link_is_not_read(clone: Path) -> None:
    """A link in the place of the project file shows nothing of what it points to."""
    (clone / "Pulumi.yaml").unlink()
    (clone / "Pulumi.yaml").symlink_to(clone.parent / "outside" / "Pulumi.yaml")
    with pytest.raises(ProjectError) as caught:
        project.check(clone, "web")
    assert "canary" not in str(caught.value)


def test_pulumi_env_is_made_empty(tmp_path: Path) -> None:
    """PULUMI_ENV is an empty file, whatever the repository or a command has put there."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    env = tmp_path / "PULUMI_ENV"
    for put in ("nothing", "file", "link"):
        if put == "file":
            env.write_text("A=1\n")
        if put == "link":
            env.unlink()
            env.symlink_to(victim)
        project.empty_pulumi_env(tmp_path)
        assert project.read_pulumi_env(tmp_path) == ""
        assert not env.is_symlink()
    assert victim.read_text() == "precious"
    env.write_text("A=1\n")
    assert project.read_pulumi_env(tmp_path) == "A=1\n"
    env.unlink()
    assert project.read_pulumi_env(tmp_path) == ""


def test_pulumi_env_is_only_read_when_it_is_a_file(tmp_path: Path) -> None:
    """A link, a pipe, a directory or bytes in the place of PULUMI_ENV are errors, at once."""
    env = tmp_path / "PULUMI_ENV"
    env.symlink_to("/etc/passwd")
    with pytest.raises(ProjectError, match="link"):
        project.read_pulumi_env(tmp_path)
    env.unlink()
    os.mkfifo(env)
    with pytest.raises(ProjectError, match="no file"):
        project.read_pulumi_env(tmp_path)
    env.unlink()
    env.write_bytes(b"A=\xff\n")
    with pytest.raises(ProjectError, match="UTF-8"):
        project.read_pulumi_env(tmp_path)
    env.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(ProjectError, match="larger"):
        project.read_pulumi_env(tmp_path)
    env.unlink()
    env.mkdir()
    with pytest.raises(ProjectError, match="made"):
        project.empty_pulumi_env(tmp_path)


def test_the_commit_is_read_from_git_s_files(tmp_path: Path) -> None:
    """HEAD tells the commit, detached or by its branch; anything else tells nothing."""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    assert project.head_commit(tmp_path) == ""
    (git / "HEAD").write_text("a" * 40 + "\n")
    assert project.head_commit(tmp_path) == "a" * 40
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert project.head_commit(tmp_path) == ""
    (git / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
    assert project.head_commit(tmp_path) == "b" * 40
    (git / "refs" / "heads" / "main").write_text("nonsense\n")
    assert project.head_commit(tmp_path) == ""
