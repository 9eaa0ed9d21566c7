"""A small S3 client on libcurl: signing, credentials, requests, answers and listings.

Only `datasync/services/storage/bucket.py` uses it. Knows no engine, settings or disk.
"""
