"""Labelled data sets to probe an encoder with."""

from data_pipelines.tasks.task import Task

__all__ = ['Task']
