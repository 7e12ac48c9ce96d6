"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from grab_service.alarms.service import AlarmState
from grab_service.http.fields import Reason
from grab_service.http.shapes import Shape, Time


class AlarmShape(Shape):
    """Something that the ledger has found wrong; `detail` depends on the kind."""

    alarm_id: str
    kind: str
    state: AlarmState
    detail: dict[str, Any]
    acknowledged_by: str | None
    raised_at: Time
    raised_at_ms: int
    acknowledged_at: Time | None
    acknowledged_at_ms: int | None
    cleared_at: Time | None
    cleared_at_ms: int | None


class AlarmPage(Shape):
    """Alarms, newest first."""

    items: list[AlarmShape]
    next_cursor: str | None


class BecauseNeeded(BaseModel):
    """The reason, for the log of ops."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"reason": "已通知受影响的会员"}]})

    reason: Reason
