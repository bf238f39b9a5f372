"""What FAR and MAR share: data, optimiser, objective and the sizes that Tables 5 and 6 have in common (C.2.2)."""

import ml_collections
from ml_collections import config_dict

from nwt_jax.configs import common


def prior_config(family: str) -> ml_collections.ConfigDict:
  """Everything of a prior's config but what its own table prints."""
  return ml_collections.ConfigDict(
    dict(
      family=family,
      dvae="",  # the frozen dVAE whose Memcodes are the targets, a checkpoint's directory; "": where the tokens tell
      model=dict(
        grid=(16, 14),  # Memcodes a frame, 256 x 224 pixels, Table 4a
        num_heads=8,  # Table 4a
        num_codes=8,  # Tables 4a, 5 and 6: vocab_size
        learned_empty=False,  # GAP: padding and what stands before the first code embed as zeros
        num_episodes=215,  # 3.1
        mel_stride=4,  # 24 kHz / (hop 200 * 30 fps), Table 7 and D.8. DEPARTS: Tables 5-6 print stride 3
        mel_shift=5.0,  # GAP: (log mel + 5) / 4 lies between about -1.6 and 2
        mel_scale=0.25,
        # (kernel, dilation, features), Tables 5-6. DEPARTS: the first kernel is 4, not 3, to skip no mel frame
        audio_rows=((4, 1, 256), (3, 1, 256), (3, 1, 256), (3, 1, 512), (3, 2, 512), (3, 4, 512), (3, 8, 1024)),
        causal_audio=False,  # True: see `causal`
        tower_kernel=(3, 2, 2),  # Tables 5-6
        style_dim=16,  # Tables 5-6
        # (kernel, dilation in time, stride in space, features), Tables 5-6
        style_rows=(((2, 2, 2), 1, 2, 256), ((2, 2, 2), 1, 1, 512), ((3, 2, 2), 3, 1, 512), ((3, 2, 2), 9, 1, 512)),
        min_log_std=-4.0,  # B.2.2, C.2.2
      ),
      data=dict(
        path="",  # the tokens
        clips="",  # that the tokens were made from, for pictures; "": where the tokens tell
        batch_size=64,  # C.2.2
        frames=32,  # C.2.2
        # GAP: whether a window of training hears beyond its own frames, as sampling does where the clip goes on. True:
        # as far as conditioning reaches. Held-out loss stayed within 0.0002 nats a symbol (docs/training.md)
        mel_margins=False,
        seed=0,
        num_threads=4,
      ),
      train=common.train(steps=250_000),  # C.2.2
      # C.2.2: halves every 50,000 updates down to 1e-5. DEPARTS: a clip of the gradient's norm, for single bad batches
      optim=common.adam(1e-4, half_life=50_000, min_learning_rate=1e-5, clip=10.0),
      objective=dict(
        style_kl_weight=1.0,  # beta_l, C.2.2
        change_weighting=0.0,  # 0: all positions weigh alike; DEPARTS above 0, see objectives.prior.loss_weights
        first_frame_weight=1.0,  # weight of a window's first frame in the loss; DEPARTS above 1, see there
        history_corruption=0.0,  # 0: predicts from true Memcodes; DEPARTS above 0, see prior_step.make_prior_loss
        first_frame_dropout=0.0,  # 0: all history is there; DEPARTS above 0, see there
      ),
      eval=dict(clips=8, frames=90),
      sample=dict(
        temperature=config_dict.placeholder(float),  # None: the checkpoint's
        chunk_frames=32,
        checkpoint="",
        style_clips=0,  # 0: styles are drawn from N(0, I), B.2.2; above 0: from so many training clips' posteriors
      ),
    )
  )


def shrink_to_demo(config: ml_collections.ConfigDict) -> None:
  """The shipped models' size: 64 x 56 pixels as 8 x 7 Memcodes, 8 talkers; small enough to train on CPU cores.

  DEPARTS: narrower than Tables 5-6, in 3,000 updates of 8 clips; C.2.2 has 250,000 of 64."""
  config.model.update(
    dict(
      grid=(8, 7),
      embed_dim=16,
      num_episodes=8,
      episode_dim=16,
      audio_rows=((4, 1, 128), (3, 1, 128), (3, 1, 128), (3, 1, 128), (3, 2, 128), (3, 4, 128), (3, 8, 128)),
      tower_kernel=(1, 2, 2),  # DEPARTS: Tables 5-6 have 3 x 2 x 2; one frame keeps the towers small
      # DEPARTS: Tables 5-6 stride in space once. Twice, a narrow encoder keeps where in the picture it saw what
      style_rows=(((1, 2, 2), 1, 2, 128), ((1, 2, 2), 1, 2, 128), ((3, 2, 2), 3, 1, 128)),
    )
  )
  config.data.update(dict(batch_size=8))
  config.train.update(dict(steps=3_000, log_every=20, eval_every=500, save_every=100, export_dtype="float16"))
  # DEPARTS: C.2.2's rate starts at 1e-4, without a warm-up, and halves every 50,000 updates
  config.optim.update(dict(learning_rate=1e-3, half_life=3_000, warmup=200))
  config.objective.update(dict(change_weighting=1.0))  # DEPARTS: see objectives.prior.loss_weights
  config.eval.update(dict(clips=16))
  config.sample.temperature = 0.7  # GAP: the paper names none; at 1 more of a small model's errors show
  config.sample.style_clips = 512  # DEPARTS: see generate.style.draw


def corrupt_history(config: ml_collections.ConfigDict) -> None:
  """The second part of a small prior's training, in the workdir of the first: the history has errors of its own.

  After the first part samples keep whatever is wrong in their first frame, and lips follow the speech only where a face
  is whole.

  DEPARTS: C.2.2 has beta_l = 1; at 0.5 a style has more room for what it alone can tell. The other four as above."""
  config.objective.update(
    dict(
      change_weighting=0.5,
      first_frame_weight=20.0,
      first_frame_dropout=0.5,
      history_corruption=0.6,
      style_kl_weight=0.5,  # DEPARTS: see above
    )
  )
  config.train.steps = 8_000


def causal(config: ml_collections.ConfigDict) -> None:
  """For live speech: no frame waits for the sound of later ones.

  DEPARTS: the paper asks for causal layers in the decoder alone (B.2.3). An audio encoder that is centred on its frame
  hears 29 frames ahead (FAR: 23), 0.97 s that a stream lags behind the voice. As many layers and parameters, all
  looking back."""
  config.model.causal_audio = True


def shrink_to_tiny(config: ml_collections.ConfigDict) -> None:
  """Seconds on a CPU, for tests."""
  config.model.update(
    dict(
      grid=(4, 3),
      num_heads=2,
      num_codes=4,
      embed_dim=4,
      num_episodes=3,
      episode_dim=4,
      audio_rows=((4, 1, 8), (3, 1, 8), (3, 2, 8)),
      style_dim=4,
      style_rows=(((2, 2, 2), 1, 2, 8), ((3, 2, 2), 3, 1, 8)),
    )
  )
  config.data.update(dict(batch_size=4, frames=8))
  config.train.update(dict(steps=2, log_every=1, eval_every=2, save_every=2))
  config.eval.update(dict(clips=1, frames=12))
  config.sample.chunk_frames = 8
