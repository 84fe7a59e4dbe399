"""Draw the learning curves of the zoo: `python docs/curves.py PAGE.html`, to be photographed by a browser."""

import json
import sys
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.models import load
from mesascope.models.formats import zoo_names

ZOO = Path(__file__).parents[1] / "models" / "zoo"
PANELS = {
    "linear self-attention": ("lsa-", "preconditioned", "softmax-heads"),
    "decoders and LSTM": ("decoder-", "lstm"),
    "separate tokens": ("separate-",),
    "sine, induction": ("sine", "induction"),
}


def main() -> None:
    """Write one page with a panel for each kind of specimen."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    figure = make_subplots(2, 2, subplot_titles=list(PANELS), horizontal_spacing=0.2, vertical_spacing=0.14)
    for place, prefixes in enumerate(PANELS.values()):
        for name in (name for name in zoo_names() if name.startswith(prefixes) and "-seed" not in name):
            records = [json.loads(line) for line in (ZOO / name / "log.jsonl").read_text().splitlines()]
            null = load(f"zoo:{name}").task.null_loss
            xs, ys = [r["step"] for r in records], [r.get("held_out", r["loss"]) / null for r in records]
            row, column = divmod(place, 2)
            figure.add_trace(
                go.Scatter(x=xs, y=ys, name=name, mode="lines", legend=f"legend{place + 1}"), row + 1, column + 1
            )
    figure.update_xaxes(type="log", title="step")
    figure.update_yaxes(type="log", exponentformat="power", title="loss / loss of predicting zero")
    legends = {
        f"legend{place + 1}": {"x": 0.41 + 0.6 * (place % 2), "y": 1 - 0.57 * (place // 2)} for place in range(4)
    }
    figure.update_layout(template="simple_white", width=1300, height=900, **legends)
    figure.write_html(sys.argv[1], include_plotlyjs=True, config={"displayModeBar": False})


if __name__ == "__main__":
    main()
