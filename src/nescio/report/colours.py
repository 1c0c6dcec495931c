"""The colours of all pictures, from the palette of Okabe & Ito for colour-blind readers."""

BLUE, GREY, ORANGE, GREEN, INK, SOFT = (
    "#0072B2",
    "#D4D4D4",
    "#D55E00",
    "#007A5A",
    "#222222",
    "#555555",
)
