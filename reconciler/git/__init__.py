"""What git may be asked for, and how it is kept to itself: the same for engine and reconciler.

`urls` says what may be asked for, `isolation` and `known_hosts` what git and ssh are told,
`paths` which files of a repository are meant. All of it decides and touches nothing; who runs
git takes its words from here.
"""
