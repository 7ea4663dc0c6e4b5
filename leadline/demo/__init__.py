"""The demo "Will this flight arrive late?": real flights, real weather, the whole loop.

``repack`` makes the data (developers only), ``flights`` reads it, ``features`` says what a feature
is, ``models`` trains two versions of ``delay``, ``setup`` and ``seed`` fill a fresh platform with
them, ``replay`` lives through December on a simulated clock, and ``story`` rolls versions out.
"""
