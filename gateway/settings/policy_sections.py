"""The settings of policies: a ``[[policy.rule]]`` for each, which say what goes to the cloud, and how soon."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.messages import PRIORITY_DEFAULT
from gateway.settings.forms import invalid
from gateway.settings.section import Section

# Twice the sensors that one radio hears.
RULES_MAX = 1024


def check_device_glob(text: str) -> str:
    """Accept a device id in which * stands for any characters, ? for one and [abc] for one of these."""
    if not text:
        raise invalid("matches no device", 'Write "*" for every device, "cam-*" for those whose id begins so.')
    return text


class PolicyRuleSettings(Section):
    """Whom a rule is for, and what it sets. What it does not mention stays as earlier rules left it."""

    device: Annotated[str, AfterValidator(check_device_glob)] = Field(
        default="*", max_length=256, description='Device ids, "cam-*"; * stands for anything, ? for one character.'
    )
    kind: Literal["any", "classification", "reading"] = Field(
        default="any", description="Results of pictures, readings, or both."
    )
    transport: Literal["any", "http", "mqtt", "ble", "camera_pull", "gateway"] = Field(
        default="any",
        description="The way in. gateway: outcomes of commands and devices that come and go; only priority and ttl_h "
        "count for those, and any does not mean them.",
    )
    priority: int = Field(
        default=PRIORITY_DEFAULT,
        ge=0,
        le=9,
        description="0 is the most urgent, as in routes of IoT Edge: it goes first, and makes room last "
        "(outbox.when_full).",
    )
    ttl_h: float = Field(
        default=0,
        ge=0,
        le=876_000,
        description="Hours after which an event that still waits is given up, as its tombstone tells. 0: never. "
        "Powered time, and time without power between two starts whose clocks were right.",
    )
    min_probability: float = Field(
        default=0,
        ge=0,
        le=1,
        description="A result whose most probable label has less is stored, answered and counted, and not sent.",
    )
    on_change: bool = Field(
        default=False,
        description="Send a result only if its most probable label is another than the last one sent of that device; a "
        "reading only if a value is another.",
    )
    on_change_max_s: float = Field(
        default=3600,
        ge=0,
        le=31_536_000,
        description="Send one nevertheless if the last one sent is older: an hour tells a quiet device from a dead "
        "one. 0: never.",
    )
    on_change_min: float = Field(
        default=0,
        ge=0,
        le=1_000_000_000_000,
        description="By how much a number of a reading must differ from the last one sent to count as another.",
    )
    on_change_of: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description='Values of readings that count, by name: ["temperature"]. Empty: all. What changes each time, a '
        "counter or a signal strength, is no change.",
    )
    summary: Literal["off", "instead", "besides"] = Field(
        default="off",
        description="Counts per label (for readings count, min, mean and max per value) for each window. instead: of "
        "the single results (with on_change those that changed are sent as well). besides: both are sent.",
    )
    summary_window_s: float = Field(
        default=3600,
        ge=1,
        le=2_678_400,
        description="Length of a window, from its first result on. An hour is 24 messages a day and device.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> "PolicyRuleSettings":
        if self.model_fields_set <= {"device", "kind", "transport"}:
            raise invalid("sets nothing", "Give it a priority, ttl_h, min_probability, on_change or summary.")
        if self.transport == "gateway" and not self.model_fields_set <= {
            "device",
            "kind",
            "transport",
            "priority",
            "ttl_h",
        }:
            raise invalid(
                "holds back what the gateway itself has to tell",
                'With transport = "gateway" only priority and ttl_h count.',
            )
        return self


class PolicySettings(Section):
    """What goes to the cloud, and how soon. Whatever a policy holds back is on disk, answered and counted all the same.

    Rules apply in their order: a later one overrides, key by key, what earlier ones set.
    """

    rule: tuple[PolicyRuleSettings, ...] = Field(
        default=(),
        max_length=RULES_MAX,
        description="The rules, each under a heading of its own. In the environment: a JSON array of objects.",
    )
