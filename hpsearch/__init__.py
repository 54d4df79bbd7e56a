"""A hyperparameter-search service for Keras image classifiers.

In Python: `hpsearch.start_study({...})`, `hpsearch.trials(name)`, `hpsearch.epochs(name)`, `hpsearch.answer(name)`,
`hpsearch.importances(name)`, `hpsearch.figures(name)`, `hpsearch.logs(name, trial)` (docs/notebook.md).
"""

from typing import TYPE_CHECKING, Any

from hpsearch.version import __version__

if TYPE_CHECKING:
    from hpsearch.api import answer, epochs, figures, importances, logs, start_study, trials

__all__ = ["__version__", "answer", "epochs", "figures", "importances", "logs", "start_study", "trials"]


def __getattr__(name: str) -> Any:
    # Imported when first used, so that `hpsearch --help` stays quick.
    if name in __all__:
        import hpsearch.api

        return getattr(hpsearch.api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
