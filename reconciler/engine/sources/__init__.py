"""How the engine gets a deployment's program: where it lies is told by `reconciler.git`.

`commands` says what git is told, and `submodules` reads others' texts; these decide and touch
nothing. `lookup`, `mirrors`, `watch` and `fetching` touch the network, the disk and the processes.
"""
