"""From bases to the units that the encoder reads, and back."""

from lifecode.tokenizers.conv_merge import ConvMerge
from lifecode.tokenizers.lookup import Lookup

Tokenizer = ConvMerge | Lookup

__all__ = ['ConvMerge', 'Lookup', 'Tokenizer']
