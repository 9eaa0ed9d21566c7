"""A small S3 client on libcurl: signing, credentials, requests, answers and listings.

Only `bucket.py` and `channel.py` beside it use it. Knows no engine, settings or disk.
"""
