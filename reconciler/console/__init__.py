"""The console: pages that show how everything stands, and let a person act on it.

Made on the server, for a browser with or without scripts. What is shown comes in as values
(`values`), from a source that the command line puts together (`ports`); what a page says and
where a picture's parts lie are functions of those values; templates only write them down.
"""
