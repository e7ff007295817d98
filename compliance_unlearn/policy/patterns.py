"""The forms that names may have, and how a person says them."""

NAME = r"^[a-z0-9][a-z0-9-]*$"
REQUEST_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

IN_WORDS = {
    NAME: "must be lower-case letters and digits, joined by hyphens",
    REQUEST_ID: "must be at most 64 letters, digits, dots, hyphens and underscores, with a letter or digit first",
}
