"""Judges what a bucket's server answered: its clock, its region, a refused read, proofs. Pure."""

from collections.abc import Sequence

from datasync.doctor.findings import Finding, failed, failed_by, passed, skipped, warned
from datasync.errors import AccessDenied, CredentialsRejected, DataSyncError
from datasync.models.sync_models import ListedObject, ObjectHead, Verdict
from datasync.services.engine.integrity import expect
from datasync.services.engine.planner import COLD_CLASSES

SKEW_WARN_SECONDS = 60.0
SKEW_FAIL_SECONDS = 900.0  # S3 refuses what is signed further off than this
CLOCK_ADVICE = "Set this machine's clock, with NTP for example."
DEFAULT_REGION = "us-east-1"
KMS_ADVICE = "Grant kms:Decrypt on {key} to these credentials; its key policy must allow it too."


def judge_clock(theirs: float | None, ours: float) -> Finding:
    """Compare the server's clock with ours, both in seconds since the epoch."""
    if theirs is None:
        return skipped("the server's answers have no date")
    off = ours - theirs
    size = abs(off)
    if size <= SKEW_WARN_SECONDS:
        return passed(f"within {max(1.0, size):.0f} s of the server's")
    text = f"{size:.0f} s {'ahead of' if off > 0 else 'behind'} the server's"
    if size > SKEW_FAIL_SECONDS:
        return failed(f"{text}: signatures are refused", CLOCK_ADVICE)
    return warned(text, CLOCK_ADVICE)


def region_of_location(constraint: str | None) -> str:
    """The region behind a LocationConstraint (S3 API reference, GetBucketLocation)."""
    return {None: DEFAULT_REGION, "": DEFAULT_REGION, "EU": "eu-west-1"}.get(
        constraint, constraint or DEFAULT_REGION
    )


def judge_region(configured: str, told: str, *, can_list: bool) -> Finding:
    """Compare AWS_REGION with the region that the server tells of the bucket."""
    if configured == told:
        return passed(f"the bucket is in {told}, as AWS_REGION says")
    text = f"the bucket is in {told}, AWS_REGION is {configured}"
    advice = f"Set AWS_REGION={told}."
    return (
        warned(f"{text}; this server does not mind", advice) if can_list else failed(text, advice)
    )


def judge_listing(objects: int, whole: bool, place: str) -> Finding:
    """What the first page of the listing shows."""
    if objects == 0:
        return passed(f"s3:ListBucket is allowed; {place} is empty")
    count = f"{objects:,} object{'' if objects == 1 else 's'}{'' if whole else ' and more'}"
    return passed(f"s3:ListBucket is allowed; {place} has {count}")


def pick_sample(objects: Sequence[ListedObject]) -> ListedObject | None:
    """An object that can be read to try it: the smallest that is not empty, else any."""
    usable = [
        each
        for each in objects
        if each.problem is None and (each.storage_class not in COLD_CLASSES or each.restored)
    ]
    return min(usable, key=lambda each: (each.size == 0, each.size), default=None)


def judge_refused_read(error: DataSyncError, encryption: str, kms_key: str) -> Finding:
    """Why the first byte of an object could not be read.

    A policy that lacks s3:GetObject and one that lacks kms:Decrypt get the same 403; what tells
    them apart is that the object's head can be read and names a KMS key.
    """
    denied = isinstance(error, AccessDenied) and not isinstance(error, CredentialsRejected)
    if not denied:
        return failed_by(error)
    if "kms:Decrypt" in str(error) or encryption.startswith("aws:kms"):
        key = kms_key or "the object's KMS key"
        return failed(
            f"{error}: the object is encrypted with KMS, so it is kms:Decrypt that is missing",
            KMS_ADVICE.format(key=key),
        )
    return failed(str(error), "Grant s3:GetObject on the bucket's objects to these credentials.")


def judge_proof(head: ObjectHead, verify: bool) -> Finding:
    """What the head of an object offers to check its bytes with."""
    if not verify:
        return warned(
            "VERIFY_FILE_INTEGRITY=false: only the length of downloads is checked",
            "Set VERIFY_FILE_INTEGRITY=true.",
        )
    verdict = expect(head).verdict
    stored = ", ".join(sorted(head.checksums)) or "none"
    if verdict is Verdict.SIZE:
        return warned(
            f"the object that was tried shows no checksum (encryption: {head.encryption or 'none'})"
            ": only its length can be checked",
            "Upload with a checksum; today's AWS clients do so by themselves.",
        )
    return passed(f"downloads can be verified by {verdict.value}; stored checksums: {stored}")
