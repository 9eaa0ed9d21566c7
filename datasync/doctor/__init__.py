"""`datasync doctor`: looks at everything the service needs, and says what to do about the rest.

`visit` puts it together; every other module looks at one thing. The `*_rules` modules are pure:
they judge what the others have asked. Sits above the composition and below the command line.
"""
