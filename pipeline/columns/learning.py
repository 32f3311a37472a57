"""Models that columns learn from pool and target, each in models/FINGERPRINT of the store: made once, then loaded."""

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.columns.classify.linear import Linear, train_linear
from tamis.pipeline.columns.classify.topic import Topic, learn_topic
from tamis.pipeline.columns.declared import Maker, by_name
from tamis.pipeline.columns.loss.trained import TrainedLM, train
from tamis.pipeline.columns.notes import at_model
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors.columns import as_array, as_column


def learn(run: Run, maker: Maker) -> None:
    """Make the model of one maker, unless it stands."""
    assert maker.judge is not None
    settings, final = maker.judge.settings, run.learned(maker)
    if isinstance(settings, TrainedLM):
        pool = run.pool if settings.on == "pool" else run.target
        if pool is None:
            raise RunFailed(f"columns.{maker.name}: there is no {settings.on}")
        start = next((run.learned(other) for other in run.declared if other.name == settings.start), None)
        train(settings, pool.parts, final, start)
    elif isinstance(settings, Linear):
        assert run.target is not None
        inputs = Inputs(fields=settings.reads)
        sides = [
            (batch for part in some.parts for batch in side_by_side(run, part, inputs, of_target))
            for some, of_target in ((run.pool, False), (run.target, True))
        ]
        train_linear(settings, sides[0], sides[1], final)
    elif isinstance(settings, Topic):
        tower = by_name(run.declared)[settings.features].maker.tower
        assert tower is not None
        with at_model:
            vectors = tower.model().texts(settings.words)
        words, _ = as_array(as_column(vectors, getattr(tower.settings, "dims", None)))
        inputs = Inputs(fields=settings.reads)
        batches = (batch for part in run.pool.parts for batch in side_by_side(run, part, inputs, of_target=False))
        learn_topic(settings, words, batches, final)
