"""Which steps are traced."""

import jax
import pytest

from backbone.train.profile import Profile


@pytest.mark.parametrize(
  ('steps', 'wanted'),
  [
    (range(3, 5), ['before 3', 'start', 'after 4', 'stop']),
    (range(3, 99), ['before 3', 'start', 'stop']),
    (range(0, 5), []),
  ],
)
def test_a_window_is_open_around_its_steps_alone(
  tmp_path, monkeypatch, steps, wanted
):
  seen = []
  monkeypatch.setattr(
    jax.profiler, 'start_trace', lambda folder: seen.append('start')
  )
  monkeypatch.setattr(jax.profiler, 'stop_trace', lambda: seen.append('stop'))
  profile = Profile(tmp_path, steps)
  for step in range(7):
    seen.append(f'before {step}')
    profile.before(step, ())
    seen.append(f'after {step}')
    profile.after(step, ())
  profile.close()
  traced = [i for i, text in enumerate(seen) if text in ('start', 'stop')]
  around = [seen[i - 1] for i in traced if seen[i - 1] != 'after 6']
  assert [x for x in seen if x in ('start', 'stop', *around)] == wanted
