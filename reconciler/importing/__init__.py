"""What others wrote for other tools → specs. Pure converters; files and words are the command's.

Each converter reads an object into a `Draft`: the spec's own tree, the secrets it needs by the
names of their variables, and remarks, one for each field that is not carried over. No value of
a secret is put into a tree or a message; `Draft.hidden` knows them all, so that whoever writes
can make sure.
"""

from __future__ import annotations
