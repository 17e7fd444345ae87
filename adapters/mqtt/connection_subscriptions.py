"""SUBSCRIBE and UNSUBSCRIBE: what a session may hear, and the answer. Pure."""

from adapters.mqtt.codec import MalformedPacket
from adapters.mqtt.codec_packets import V3_1_1, Suback, Subscribe, Subscription, Unsuback, Unsubscribe
from adapters.mqtt.codec_reasons import SUBACK_FAILURE, ReasonCode
from adapters.mqtt.sessions import Session, Sessions
from adapters.mqtt.sessions_filters import SHARED_PREFIX, is_well_formed, may_subscribe


def answer_subscriptions(
    packet: Subscribe | Unsubscribe, session: Session, sessions: Sessions, version: int
) -> Suback | Unsuback:
    """Change the session's subscriptions as far as it is allowed and return the answer."""
    if isinstance(packet, Unsubscribe):
        found = [sessions.unsubscribe(session, one) for one in packet.topic_filters]
        codes = tuple(ReasonCode.SUCCESS if one else ReasonCode.NO_SUBSCRIPTION_EXISTED for one in found)
        return Unsuback(packet_id=packet.packet_id, codes=codes)
    if packet.properties.subscription_ids:
        raise MalformedPacket("subscription identifiers", ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
    granted = [_subscribe(one, session, sessions) for one in packet.subscriptions]
    if version == V3_1_1:
        granted = [SUBACK_FAILURE if code >= 0x80 else code for code in granted]
    return Suback(packet_id=packet.packet_id, codes=tuple(granted))


def _subscribe(wanted: Subscription, session: Session, sessions: Sessions) -> int:
    if wanted.topic_filter.startswith(SHARED_PREFIX):
        return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    if not is_well_formed(wanted.topic_filter):
        return ReasonCode.TOPIC_FILTER_INVALID
    if not may_subscribe(wanted.topic_filter, session.key.device_id):
        return ReasonCode.NOT_AUTHORIZED
    # Results and commands are sent at QoS 1 at most: a repeated one does no harm, and QoS 2 costs two more packets.
    qos = min(wanted.qos, 1)
    return qos if sessions.subscribe(session, wanted.topic_filter, qos) else ReasonCode.QUOTA_EXCEEDED
