"""Education's settings, as environment variables with the prefix AZORA_."""

from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings


class EducationSettings(ServiceSettings):
    """What Education is told by its environment."""

    refund_progress_limit_basis_points: Annotated[int, Field(ge=0, le=10_000)] = 2_000
    """How far in a paid course, in hundredths of a percent, its learner may be and still ask for a refund."""
    settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """How long after an enrolment began to be paid the job that ends what was left half done looks at it."""
