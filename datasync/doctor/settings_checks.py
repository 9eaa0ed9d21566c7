"""Looks at the settings themselves: odd variables, who is let in, the log file, credentials."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ProfileNotFound

from datasync.api.security import is_loopback
from datasync.config.loading import unknown_variables
from datasync.config.settings import Settings
from datasync.doctor.findings import Finding, failed, passed, warned
from datasync.errors import CredentialsRejected
from datasync.services.storage.s3.credentials import NOTHING_FOUND

if TYPE_CHECKING:
    from botocore.credentials import Credentials

GUESSABLE_BELOW = 16
KEYS_ADVICE = "Make a new one with: datasync keys new NAME --role ROLE."
# Botocore's names of its sources, as `Credentials.method` has them.
SOURCES = {
    "env": "environment variables",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "assume-role": "a role that is assumed",
    "assume-role-with-web-identity": "a role with a web identity",
    "sso": "AWS SSO",
    "login": "aws login",
    "custom-process": "a credential process",
    "container-role": "the role of the container or task",
    "iam-role": "the role of the instance",
    "boto-config": "a boto configuration file",
}


def look_at_settings(settings: Settings) -> Finding:
    """What is configured, and variables that were probably meant to be settings."""
    below = f", keys below {settings.s3_prefix!r}" if settings.s3_prefix else ""
    text = f"bucket {settings.s3_bucket_name!r}{below}, into {settings.local_download_dir}"
    odd = unknown_variables()
    return warned(f"{text}; {'; '.join(odd)}", "Correct the names.") if odd else passed(text)


def look_at_access(settings: Settings) -> Finding:
    """Who may call the service, and whether senders of events are among them."""
    if keys := settings.access_keys:
        told = ", ".join(f"{key.name} ({key.role.value})" for key in keys)
        short = [key.name for key in keys if key.secret and len(key.secret) < GUESSABLE_BELOW]
        text = f"callers need one of {len(keys)} API_KEYS: {told}"
        if short:
            return warned(f"{text}; short enough to be guessed: {', '.join(short)}", KEYS_ADVICE)
        return passed(text)
    if is_loopback(settings.api_host):
        return passed(f"API_HOST={settings.api_host}: nobody but this machine can connect")
    if settings.notification_secret is not None:
        return passed("signed notifications are let in; everything else only from this machine")
    if settings.sqs_queue_url or settings.sns_topic_arns:
        return passed("events come from SQS or SNS; everything else only from this machine")
    return warned(
        "without API_KEYS only this machine is let in: a Lambda function cannot deliver events",
        "Set NOTIFICATION_SECRET or API_KEYS, and give the function the same.",
    )


def look_at_log_file(settings: Settings) -> Finding:
    """Whether LOG_FILE could be written. Makes nothing."""
    if settings.log_file is None:
        return passed("none is written")
    path = settings.log_file.absolute()
    if path.is_dir():
        return failed(f"{path} is a directory", "Name a file in LOG_FILE.")
    place = path if path.exists() else nearest_existing(path.parent)
    if not os.access(place, os.W_OK) or not (place == path or place.is_dir()):
        return failed(f"{path} cannot be written", "Set LOG_FILE to a place that can be, or empty.")
    return passed(str(path))


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest of those above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def look_at_credentials(
    settings: Settings, resolve: "Callable[[str | None], Credentials | None] | None" = None
) -> Finding:
    """Where credentials are found; whether they are accepted, the bucket tells."""
    if settings.aws_no_sign_request:
        return passed("none: AWS_NO_SIGN_REQUEST reads a public bucket")
    if settings.aws_access_key_id is not None and settings.aws_secret_access_key is not None:
        kind = "temporary keys" if settings.aws_session_token else "keys"
        return passed(f"{kind} in the settings (AWS_ACCESS_KEY_ID)")
    found = _found(settings.aws_profile, resolve or _resolve)
    if found is None:
        raise CredentialsRejected("no AWS credentials found", hint=NOTHING_FOUND)
    where = SOURCES.get(found.method, found.method)
    profile = f", profile {settings.aws_profile!r}" if settings.aws_profile else ""
    return passed(f"from {where}{profile}")


def _found(
    profile: str | None, resolve: "Callable[[str | None], Credentials | None]"
) -> "Credentials | None":
    """The chain's first set. Raises: CredentialsRejected."""
    try:
        found = resolve(profile)
        usable = found is not None and found.get_frozen_credentials().access_key
    except ProfileNotFound:
        problem = f"there is no profile {profile!r} in the AWS configuration"
        raise CredentialsRejected(problem, hint="Correct AWS_PROFILE.") from None
    except Exception as error:  # the chain's providers raise whatever they like, and repeat it
        problem = f"the AWS credential chain failed: {type(error).__name__}"
        raise CredentialsRejected(problem) from error
    return found if usable else None


def _resolve(profile: str | None) -> "Credentials | None":
    from botocore.session import Session

    return Session(profile=profile).get_credentials()
