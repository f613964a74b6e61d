"""What can be trained is what can be exported: nobody trains a model that goes nowhere."""

from __future__ import annotations

from edgetool import architectures as export
from edgetool import catalogue
from edgetool.train import support as train
from edgetool.verbs.cataloguing import obstacle


def test_the_trainer_and_the_export_know_the_same_architectures() -> None:
    assert set(train.ARCHITECTURES) == set(export.ARCHITECTURES)


def test_every_card_of_a_known_architecture_can_be_trained() -> None:
    """A card's shape is what config.json says: the export reads it and refuses nothing."""
    why = {card.name: obstacle(card) for card in catalogue.cards() if card.refused is None}
    blocked = {name: reason for name, reason in why.items() if reason is not None}
    hybrid = "the trainer does not know GraniteMoeHybridForCausalLM"
    assert blocked == {"Granite-4.0-350m": hybrid, "Granite-4.0-Micro": hybrid}
