"""Keys of metadata, which are headers of HTTP, too: what callers, gateway and servers say around the messages."""

# Of callers.
AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
PINNED_VERSION = "x-model-version"
STREAM_ID = "x-stream-id"
MAX_STREAM_ID = 128
CAPTURE = "x-capture"
NOT_CAPTURED = "off"

# Of the gateway, which lets nobody else say them: the version that the weights chose, and the one that gets a copy.
ARM = "x-detector-arm"
SHADOW = "x-detector-shadow"

# Of Envoy, of calls that came by REST: the path that they came by, with the query.
ORIGINAL_PATH = "x-envoy-original-path"

# Of servers: how unsure the model was of a picture, and by which measure; when to try again; and what a call is a copy
# of, by a mark that only they can make.
UNCERTAINTY = "x-detector-uncertainty"
UNCERTAINTY_DRIVER = "x-detector-uncertainty-driver"
RETRY_AFTER = "retry-after"
COPY_OF = "x-detector-copy-of"
