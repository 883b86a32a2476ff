"""Transformer blocks and positions."""

from keras import layers


def encoder(x, depth: int, heads: int, dropout: float, seed: int):
    """Apply `depth` pre-norm blocks of Dosovitskiy et al. (ViT, ICLR 2021) to tokens, (N, S, D)."""
    width = x.shape[-1]
    for block in range(depth):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(
            heads, max(width // heads, 1), dropout=dropout, seed=seed + block
        )(y, y)
        x = layers.Add()([x, layers.Dropout(dropout, seed=seed + block)(y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(2 * width, activation="gelu")(y)
        y = layers.Dense(width)(layers.Dropout(dropout, seed=seed + block)(y))
        x = layers.Add()([x, y])
    return layers.LayerNormalization(epsilon=1e-6)(x)


def along_time(x, depth: int, heads: int, dropout: float, seed: int):
    """Encode time steps, (N, T, D), and average them to (N, D)."""
    # A convolution encodes positions and the direction of time (Chu et al., Conditional Positional
    # Encodings for Vision Transformers, ICLR 2023).
    x = layers.Add()([x, layers.DepthwiseConv1D(3, padding="same")(x)])
    x = encoder(x, depth, heads, dropout, seed)
    return layers.GlobalAveragePooling1D()(x)
