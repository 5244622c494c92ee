"""The scripts, one a revision, in their order."""
