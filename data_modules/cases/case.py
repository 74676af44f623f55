"""A case: the files of one subject, and where a split may put it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data_modules.base.names import file_and_frame, slices_of

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """The files of one subject, relative to the root of its cohort.

    images: a volume's by modality; the pictures of a subject by their number, a single one as 'image'; masks: of pictures,
    by the same keys, the files whose union is anomalous; label, brain_mask: of volumes. pool: which splits the subject may
    go to: 'any', 'train' (train or val), 'val' or 'test' (test or val); attributes: what is known of the subject (category,
    age, sex, scanner, …), which travels to its row of the result; split: 'train', 'val' or 'test' where the CSV of subjects
    says so; group: the subjects it is never divided from, if dataset.split.group is not to say.
    """

    subject: str
    images: dict[str, str]
    pool: str = "any"
    label: str | None = None
    brain_mask: str | None = None
    masks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    root: Path = field(default=Path(), compare=False)
    attributes: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None

    @property
    def files(self) -> list[Path]:
        """Every file of the subject, each once, in a fixed order."""
        masks = [mask for masks in self.masks.values() for mask in masks]
        names = [*self.images.values(), *filter(None, (self.label, self.brain_mask)), *masks]
        files = (slices_of(file_and_frame(str(self.root / name))[0]) for name in names)
        return list(dict.fromkeys(file for part in files for file in part))
