"""Images as token ids, computed once for each image: the tokeniser is three quarters of MAGE's arithmetic."""

from __future__ import annotations

import hashlib

import torch

from cu_vqgan.mage.tokeniser import Tokeniser

REMEMBERED_AT_MOST = 16384
"""Images whose ids are kept; 256 tokens each are 16 MB."""


class TokenCache:
    """Ids of images that were met before, by the hash of their pixels.

    Each image is tokenised by itself, so that its ids depend neither on its neighbours in a batch nor on what is
    remembered, and in float32 whatever the precision of a training loop, so that student, teacher and measurement
    see the same tokens. A tokeniser that is being trained gives other ids in each step: nothing is kept then, and all
    is forgotten when its weights are replaced.
    """

    def __init__(self, capacity: int = REMEMBERED_AT_MOST) -> None:
        self._capacity = capacity
        self._known: dict[bytes, torch.Tensor] = {}
        self._weights: tuple[tuple[int, int], ...] = ()

    def __deepcopy__(self, memo: object) -> TokenCache:
        return TokenCache(self._capacity)

    def __len__(self) -> int:
        return len(self._known)

    def ids(self, tokeniser: Tokeniser, images: torch.Tensor) -> torch.Tensor:
        """Ids of normalised images ``[n, channels, height, width]``: integer ``[n, tokens]`` on their device."""
        parameters = list(tokeniser.parameters())
        if any(parameter.requires_grad for parameter in parameters):
            return tokenise(tokeniser, images)
        weights = tuple((parameter.data_ptr(), parameter._version) for parameter in parameters)
        if weights != self._weights:
            self._known, self._weights = {}, weights
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in images.detach().cpu().numpy()]
        rows = []
        for key, image in zip(keys, torch.split(images, 1), strict=True):
            row = self._known.pop(key, None)
            rows.append(tokenise(tokeniser, image)[0].to("cpu", torch.int32) if row is None else row)
            self._known[key] = rows[-1]
            if len(self._known) > self._capacity:
                del self._known[next(iter(self._known))]
        return torch.stack(rows).to(images.device, torch.long)


@torch.no_grad()
def tokenise(tokeniser: Tokeniser, images: torch.Tensor) -> torch.Tensor:
    """Ids of normalised images, in float32: integer ``[n, tokens]``."""
    with torch.autocast(images.device.type, enabled=False):
        return tokeniser.nearest(tokeniser.encoder(images.float()))
