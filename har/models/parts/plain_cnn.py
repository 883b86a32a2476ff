"""A plain CNN for frames: convolution, ReLU, pooling and dropout, repeated."""

from keras import layers
from pydantic import ValidationInfo, field_validator

from har.params import ApproachParams, IntTuple, Rate


class PlainCNNParams(ApproachParams):
    """The sections of approaches with a plain CNN: one block for each entry of `filters`."""

    filters: IntTuple
    pools: IntTuple
    dropout: Rate

    @field_validator("pools")
    @classmethod
    def _a_pool_per_block(cls, pools: tuple[int, ...], section: ValidationInfo) -> tuple[int, ...]:
        filters = section.data.get("filters", pools)
        if len(pools) != len(filters):
            raise ValueError(f"one entry a block, {len(filters)} as in filters")
        return pools


def plain_cnn(x, params: PlainCNNParams, seed: int):
    """Return features of images, (N, H, W, C) to (N, D); no dropout follows the last block."""
    last = len(params.filters) - 1
    for block, (filters, pool) in enumerate(zip(params.filters, params.pools, strict=True)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(pool, padding="same")(x)
        if block < last:
            x = layers.Dropout(params.dropout, seed=seed + block)(x)
    return layers.Flatten()(x)
