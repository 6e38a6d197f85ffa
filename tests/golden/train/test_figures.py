"""``latte figures``: every kind of table becomes plots; needs neither torch nor a model."""

import numpy as np
import pytest
from click.testing import CliRunner

from latte.golden.config import preset
from latte.golden.documents import read_section, section_names
from latte.golden.register_image import RegisterImage
from latte.golden.train.figures import family
from latte.golden.train.figures_command import figures
from latte.golden.train.tables import DOCUMENT, RESULTS, sections
from latte.golden.train.threshold_files import SHIPPED, load_thresholds


def test_figures(tmp_path):
    table, history, lengths = (tmp_path / f"{name}.csv" for name in ("eval", "training", "lengths"))
    table.write_text("method,items,loss,top1,pruned,bitops_saved\nfloat,9,1.0,80,,\ndense,9,1.0,80,0,0\n"
                     "latte[a_85],9,1.1,79,0.8,0.7\nlatte[a_90],9,1.2,78,0.9,0.8\nelsa:0.1,9,2,50,0.5,0.4\n")
    history.write_text("step,loss,prediction,distillation,pruned\n1,2,1,0.5,0.7\n2,1,1,0.4,0.8\n")
    lengths.write_text("method,items,tokens,loss,ppl,pruned\nfloat@64,4,64,3,20,\nlatte[a]@64,4,64,3,21,0.8\n"
                       "float@128,2,128,3,19,\nlatte[a]@128,2,128,3,20,0.9\n")
    options = [item for path in (table, history, lengths) for item in ("--results", str(path))]
    result = CliRunner().invoke(figures, [*options, "--output", str(tmp_path / "figures")])
    assert result.exit_code == 0, result.exception
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"eval_pruned.png", "eval_bitops_saved.svg", "eval_loss.png", "training.png", "lengths.svg",
            "lengths.csv", "eval.json", "attention_maps_deit-tiny.png"} <= names
    assert "latte a" in (tmp_path / "figures" / "eval_pruned.svg").read_text()
    for text, words in (("a,b\n1,2\n", "not a table"), ("method,loss\nfloat,many\n", "is not a number")):
        table.write_text(text)
        assert words in str(CliRunner().invoke(figures, ["--results", str(table)]).exception)


@pytest.mark.slow
def test_figures_of_the_committed_results(tmp_path):
    result = CliRunner().invoke(figures, ["--output", str(tmp_path)])
    assert result.exit_code == 0, result.exception
    assert {path.name for path in RESULTS.glob("*.csv")} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(("method", "name"), [
    ("latte[deit_tiny_85]", "latte deit_tiny"), ("latte[tau2.5]", "latte tau"), ("elsa:0.1", "elsa"),
    ("top-theta-exact:theta_85", "top-theta-exact"), ("float@4096", "float"),
    ("latte-bits:3[tau2]", "latte-bits:3 tau"), ("latte[best_90 x best_90_odd]", "latte best"),
    ("latte[best_93 x best_93_odd] odd", "latte best odd"), ("latte[best_90_seed2 x other]", "latte best_seed2"),
])
def test_points_of_one_family_share_a_line(method, name):
    assert family(method) == name


@pytest.mark.parametrize(("model", "shape"), [("deit_tiny", (12, 3)), ("smollm2_135m", (30, 9))])
def test_shipped_thresholds_fit_the_registers(model, shape):
    paths = sorted((SHIPPED / model).glob("*.npz"))
    assert paths
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            tau, denominator, mean = (data[name] for name in ("tau", "denominator_gain", "mean_gain"))
            assert tau.shape == denominator.shape == mean.shape == shape, path
            assert np.isfinite(tau).all() and (tau >= 0).all() and (mean >= 0).all()
            assert (mean <= denominator).all() and (denominator < 4).all()
            assert str(data["model"]).replace("-", "_") == model


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/*.npz")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_thresholds_become_registers(path):
    with np.load(path, allow_pickle=False) as data:
        model, shape = str(data["model"]), data["tau"].shape
    image = RegisterImage.encode(model, preset("small"), load_thresholds(str(path), model, *shape, 64))
    assert len(image.heads) == shape[0] * shape[1]
    image.check_fits(preset("small", heads=len(image.heads)))


def test_the_document_shows_the_tables_as_they_are():
    tables = sections()
    assert set(tables) == set(section_names(DOCUMENT))
    for name, text in tables.items():
        assert read_section(DOCUMENT, name) == text(), f"{name} is stale; write it anew with: latte documents"
