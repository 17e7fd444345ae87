"""Settings: defaults < TOML file < environment < command line → one frozen :class:`Settings`.

``sections`` owns every key; ``loading`` reports every mistake at once, each with where it stands and how to
mend it. pydantic validates; pydantic-settings is not used, since it neither knows the line of a key nor
reports the mistakes of all sources together (docs/decisions).
"""

from gateway.settings.describing import SettingRow, describe
from gateway.settings.forms import BrokerUrl, HostPort, parse_broker_url, parse_listen
from gateway.settings.loading import load_settings
from gateway.settings.problems import Problem, SettingsInvalid
from gateway.settings.sections import (
    MIB,
    PRIVATE_NETWORKS,
    AdminSettings,
    BleDeviceSettings,
    BleSettings,
    CameraPullSettings,
    ClockSettings,
    CloudEdgeSettings,
    CloudProvisioningSettings,
    CloudSettings,
    GatewaySettings,
    HttpAliasSettings,
    HttpSettings,
    LimitsSettings,
    ModelSettings,
    MqttChunksSettings,
    MqttSettings,
    MqttTopicsSettings,
    Network,
    OutboxSettings,
    PolicyRuleSettings,
    PolicySettings,
    Provenance,
    PulledCameraSettings,
    Section,
    Settings,
    TlsSettings,
    UrlFetchSettings,
)

__all__ = [
    "MIB",
    "PRIVATE_NETWORKS",
    "AdminSettings",
    "BleDeviceSettings",
    "BleSettings",
    "BrokerUrl",
    "CameraPullSettings",
    "ClockSettings",
    "CloudEdgeSettings",
    "CloudProvisioningSettings",
    "CloudSettings",
    "GatewaySettings",
    "HostPort",
    "HttpAliasSettings",
    "HttpSettings",
    "LimitsSettings",
    "ModelSettings",
    "MqttChunksSettings",
    "MqttSettings",
    "MqttTopicsSettings",
    "Network",
    "OutboxSettings",
    "PolicyRuleSettings",
    "PolicySettings",
    "Problem",
    "Provenance",
    "PulledCameraSettings",
    "Section",
    "SettingRow",
    "Settings",
    "SettingsInvalid",
    "TlsSettings",
    "UrlFetchSettings",
    "describe",
    "load_settings",
    "parse_broker_url",
    "parse_listen",
]
