"""A picture as SVG."""

import html

from sklearn_cnn.architectures._picture import Picture, Shape, Stroke, Text


def as_svg(picture: Picture, title: str) -> str:
    """A picture as inline SVG. Its lines and texts have the colour of the text around it, so dark pages work too."""
    parts = []
    for words, shapes in picture.parts:
        tip = f"<title>{html.escape(words)}</title>" if words else ""
        parts.append(f"<g>{tip}{''.join(map(_svg_shape, shapes))}</g>")
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{html.escape(title)}" '
        f'font-family="sans-serif" fill="currentColor" style="max-width: 100%; height: auto; background: none">'
        f"{''.join(parts)}</svg>"
    )


def _svg_shape(shape: Shape) -> str:
    if isinstance(shape, Text):
        anchor = ' text-anchor="middle"' if shape.centred else ""
        weight = ' font-weight="bold"' if shape.bold else ""
        where = f'x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}"'
        return f"<text {where}{anchor}{weight}>{html.escape(shape.text)}</text>"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    if isinstance(shape, Stroke):
        line = f'fill="none" stroke="{shape.colour or "currentColor"}" stroke-width="{shape.width:g}"'
        return f'<polyline points="{points}" {line}/>'
    return f'<polygon points="{points}" fill="{shape.colour or "currentColor"}"/>'
