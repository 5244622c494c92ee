"""Where a deployment's program comes from: which repositories are allowed, and how git gets them.

`urls` says what may be asked for, `commands` and `isolation` what git is told, `known_hosts`
and `submodules` what is read of others' texts; these decide and touch nothing. `lookup`,
`mirrors`, `watch` and `fetching` touch the network, the disk and the processes.
"""
