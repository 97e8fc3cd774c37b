"""Changes of a whole GTA, one each: what says that its parts are of any use.

The literature warns that models of this kind gain nothing from the language
model (Tan et al., arXiv:2406.16964).
"""

from ml_collections import ConfigDict

CONTROLS = (
  'no_llm',
  'random_llm',
  'attention',
  'linear',
  'random_prototypes',
  'no_prompt',
  'shuffled_prompt',
  'text_only',
)


def change(config: ConfigDict, control: str) -> None:
  """Makes a control of a configuration of `gta.objective:Expression`."""
  model = config.objective.model
  if control == 'no_llm':
    model.between = 'nothing'
  elif control == 'attention':
    model.between = 'attention'
  elif control == 'random_llm':
    config.objective.language.is_random = True
    if config.data.prompt_reader is not None:
      config.data.prompt_reader.language.is_random = True
  elif control == 'linear':
    model.alignment.aligner = 'linear'
  elif control == 'random_prototypes':
    model.alignment.prototypes = 'random'
  elif control == 'no_prompt':
    config.data.prompt = 'none'
  elif control == 'shuffled_prompt':
    config.data.prompt = 'shuffled'
  elif control == 'text_only':
    model.has_sections = False
