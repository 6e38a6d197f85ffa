# Packages the core as an IP of Vivado: vivado -mode batch -source vivado/package_ip.tcl, in the package's folder.
# The IP is written to vivado/ip; add that folder to a project's IP repositories.

set root [file normalize [file join [file dirname [info script]] ..]]
set source [glob [file join $root rtl *.sv]]
set name [file rootname [file tail $source]]
set ip [file join $root vivado ip]
file mkdir $ip
file copy -force $source $ip

create_project -in_memory -part xc7z020clg400-1
add_files [file join $ip $name.sv]
set_property top $name [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $ip -vendor latte -library ip -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $name $core
set_property version 1.0 $core
set_property display_name "LATTE attention core" $core
set_property description "Sparse attention behind AXI" $core

# Vivado finds the AXI interfaces by the names of their ports. What it makes of the others differs between its versions.
foreach port {clk rst irq} {
    catch {ipx::remove_bus_interface $port $core}
}
foreach {port mode type} {clk slave clock rst slave reset irq master interrupt} {
    set interface [ipx::add_bus_interface [string toupper $port] $core]
    set_property interface_mode $mode $interface
    set_property bus_type_vlnv xilinx.com:signal:$type:1.0 $interface
    set_property abstraction_type_vlnv xilinx.com:signal:${type}_rtl:1.0 $interface
    set map [ipx::add_port_map [dict get {clock CLK reset RST interrupt INTERRUPT} $type] $interface]
    set_property physical_name $port $map
}
foreach {interface parameter value} {
    RST POLARITY ACTIVE_HIGH
    IRQ SENSITIVITY LEVEL_HIGH
} {
    set added [ipx::add_bus_parameter $parameter [ipx::get_bus_interfaces $interface -of_objects $core]]
    set_property value $value $added
}
foreach interface {s_axil m_axi m_axi_cache s_axis_q s_axis_k s_axis_v m_axis_o} {
    if {[llength [ipx::get_bus_interfaces $interface -of_objects $core]]} {
        ipx::associate_bus_interfaces -busif $interface -clock CLK $core
    }
}
ipx::associate_bus_interfaces -clock CLK -reset RST $core

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
