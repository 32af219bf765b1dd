"""What the tour prints: the two lists, what changed and why, and commands to try."""

from __future__ import annotations

from urllib.parse import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eddyline.clients.tour import Tour


def show(tour: Tour, console: Console) -> None:
    """Print the tour for people."""
    known = {item["item_id"]: item["rank"] for item in tour.before}
    table = Table(title=f"Top {len(tour.before)} of person {tour.person}", title_justify="left", expand=False)
    table.add_column("#", justify="right")
    table.add_column("before")
    table.add_column("after one click")
    table.add_column("")
    for old, new in zip(tour.before, tour.after, strict=False):
        rank = known.get(new["item_id"])
        moved = "new" if rank is None else "" if rank == new["rank"] else f"was {rank}"
        table.add_row(
            str(new["rank"]),
            escape(old["title"]),
            f"[bold green]{escape(new['title'])}[/]" if rank is None else escape(new["title"]),
            moved,
        )
    console.print()
    console.print(table)
    clicked = tour.clicked
    console.print(
        f"The click: [bold]{escape(clicked['title'])}[/] ({escape(str(clicked['category']))}), not listed before."
    )
    for item in tour.entered:
        terms = ", ".join(f"{name} {value:.2f}" for name, value in item["scores"].items() if value >= 0.005)
        console.print(f"  + {escape(item['title'])}: {item['because']} ({terms})")
    console.print(
        f"From the click's POST to the changed answer: [bold]{tour.milliseconds:.0f} ms[/] "
        "(HTTP → Kafka protocol → profiler → Qdrant engine → HTTP)."
    )


def playground_address(url: str, tour: Tour) -> str:
    """Return where the person of the tour can be played with."""
    return f"{url}/play?user={quote(tour.person, safe='')}"


def curl_commands(url: str, tour: Tour) -> list[str]:
    """Write three commands to try."""
    item = tour.entered[0] if tour.entered else tour.after[0]
    event = f'{{"type": "click", "user_id": "{tour.person}", "item_id": "{item["item_id"]}"}}'
    return [
        f"curl -s '{url}/v1/users/{tour.person}/recommendations?limit=5&explain=true'",
        f"curl -s -X POST '{url}/v1/events' -H 'Content-Type: application/json' -d '{event}'",
        f"curl -s '{url}/v1/items/{item['item_id']}/similar?limit=5'",
    ]
