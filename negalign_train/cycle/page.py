def write_page(context, summary, records):
    return None
