"""The parts of the documents that are made from the code, so that they cannot be wrong.

Each module makes Markdown out of one thing: settings, commands, routes, errors, the client,
decisions. They read what the code says of itself and know nothing of the site; `site_hooks.py`
puts what they make between a page's marks.
"""
