"""The legend: one letter per axis, one alias per kind of array.

Axes: b batch, t frames, h w pixels, c colours, i j latent rows and columns, k heads, n codes, d width, s mel steps,
m mel bins, z style variates.
"""

from jaxtyping import Array, Float, Int, UInt8

Video = Float[Array, "b t h w c"]  # in [-1, 1]; 3 colours, 1 where pictures are grey
Frames = UInt8[Array, "t h w 3"]  # RGB, as files hold them
Codes = Int[Array, "b t i j k"]  # Memcodes: one symbol per head
Logits = Float[Array, "b t i j k n"]
Mel = Float[Array, "b s m"]  # natural logarithm of the power mel spectrogram, Table 7
Episode = Int[Array, "b t"]  # per frame; -1 asks for the mean of the embedding table
Style = Float[Array, "b z"]  # of a whole clip
StyleTrack = Style | Float[Array, "b t z"]  # of a whole clip, or of each frame where it changes on the way
Valid = Float[Array, "b t"]  # 1 inside the clip, 0 in the padding around it
