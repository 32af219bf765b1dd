"""Events of other systems in our words, by the one table of `settings.mappings`: Segment's and RudderStack's, Google
Analytics 4's, CloudEvents, webhooks.

Each reader makes `TrackedEvent`s of what a system sends; `our_events` makes events of them.
"""

from eddyline.model.trackers.cloud_events import read_cloud_event
from eddyline.model.trackers.ga4 import ga4_messages, ga4_row
from eddyline.model.trackers.segment import segment_message, segment_messages
from eddyline.model.trackers.tracked_event import TrackedEvent, our_events
from eddyline.model.trackers.webhooks import webhook_messages

__all__ = [
    "TrackedEvent",
    "ga4_messages",
    "ga4_row",
    "our_events",
    "read_cloud_event",
    "segment_message",
    "segment_messages",
    "webhook_messages",
]
