"""Settings of Education."""

from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings


class EducationSettings(ServiceSettings):
    """Settings of Education, as environment variables with the prefix AZORA_."""

    refund_progress_limit_basis_points: Annotated[int, Field(ge=0, le=10_000)] = 2_000
    """Maximum progress in a paid course at which the learner can still request a refund, in basis points."""
    settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Delay before the recovery job settles an enrolment whose payment was interrupted, in seconds."""
    max_watchers: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Maximum number of concurrent watches per process: WatchProgress in Education, WatchTransactions in Payment."""
    max_watchers_per_user: Annotated[int, Field(ge=1, le=1000)] = 10
    """Maximum number of concurrent watches per user and process."""
    issuer_name: Annotated[str, Field(min_length=1, max_length=200)] = "Azora"
    """Name of the issuer in the credentials of certificates."""
