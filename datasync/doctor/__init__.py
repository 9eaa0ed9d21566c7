"""`datasync doctor`: looks at everything the service needs, and says what to do about it.

Sits beside the demo, above all else. Writes nothing but small files of its own below
`.datasync/`, and, where a canary is asked for, one object that it removes again.
"""
