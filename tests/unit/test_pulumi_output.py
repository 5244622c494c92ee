"""Why a step failed, by what Pulumi 3.274 and the programs it runs write; shortened."""

from __future__ import annotations

import pytest

from reconciler.pulumi_output import failure

YAML_LANGUAGE = """\
 +  pulumi:pulumi:Stack p-dev creating (0s) Error: error resolving type of resource a: no such
 +  pulumi:pulumi:Stack p-dev created (0.01s) 7 messages
Diagnostics:
  pulumi:pulumi:Stack (p-dev):
    Warning: Field 'propertis' does not exist on Object 'resources.a'
      on Pulumi.yaml line 6:
    Error: error resolving type of resource a: no "pulumi:nothing"
      on Pulumi.yaml line 5:
       5:     type: pulumi:nothing

Resources:
    + 1 created

Duration: 1s

[pulumi ended with exit code 255]
"""
PROVIDER = """\
Diagnostics:
  pulumi:pulumi:Stack (p-dev):
    error: Error reading file at path ./nothing: no such file or directory

      on Pulumi.yaml line 5:
    error: update failed

[pulumi ended with exit code 255]
"""
CONFIG = """\
error: validating stack config: Stack 'dev' is missing configuration value 'need'
[pulumi ended with exit code 255]
"""
PYTHON = """\
Diagnostics:
  pulumi:pulumi:Stack (p-dev):
    error: Program failed with an unhandled exception:
    Traceback (most recent call last):
      File "/w/__main__.py", line 3, in <module>
        raise KeyError("x")
    KeyError: 'x'

    During handling of the above exception, another exception occurred:

    Traceback (most recent call last):
      File "/w/__main__.py", line 5, in <module>
        raise botocore.exceptions.NoRegionError("no region")
    botocore.exceptions.NoRegionError: no region

Resources:
    1 unchanged

[pulumi ended with exit code 255]
"""
NODE = """\
    error: Running program '/w/index.js' failed with an unhandled exception:
    <ref *1> Error: no such bucket
        at Object.<anonymous> (/w/index.js:1:7)
[pulumi ended with exit code 255]
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
ModuleNotFoundError: No module named 'yaml'
[bash ended with exit code 1]
"""
SHELL = "installing\n./build.sh: line 3: make: command not found\n[bash ended with exit code 127]\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (YAML_LANGUAGE, 'Error: error resolving type of resource a: no "pulumi:nothing"'),
        (PROVIDER, "error: Error reading file at path ./nothing: no such file or directory"),
        (
            CONFIG,
            "error: validating stack config: Stack 'dev' is missing configuration value 'need'",
        ),
        (PYTHON, "botocore.exceptions.NoRegionError: no region"),
        (NODE, "<ref *1> Error: no such bucket"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'yaml'"),
        (SHELL, "./build.sh: line 3: make: command not found"),
        ("error: update failed\n", "error: update failed"),
        ("error: it failed because of:\n", "error: it failed because of:"),
        ("[git was ended by signal 9]\n", "[git was ended by signal 9]"),
        ("", ""),
    ],
)
def test_a_failure_is_told_by_the_line_that_says_why(log: str, expected: str) -> None:
    """Not by the exit code, and not by the sentence that only announces it."""
    assert failure(log.splitlines()) == expected
