<#
.SYNOPSIS
    Creates or finds the collection of exactly these VMs.
.DESCRIPTION
    Input: { settings, name, collectionId, vmIds }. Output: { collectionId, added, removed }.
    Source: hyperv.md 1.4 (Msvm_CollectionManagementService; type 0 = collection of VMs), 2.2 (match by id; a failed query
    must not read as "no groups": every call here stops on errors). INFERRED: DefineCollection keeps the Id it is given; when
    it does not, the collection is found by its name next time.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.collectionNamespace
    $service = Get-GcbService -Namespace $namespace -ClassName Msvm_CollectionManagementService
    $timeoutMs = [long]$Request.settings.callTimeoutMs
    $collection = Get-CimInstance -Namespace $namespace -ClassName Msvm_VirtualSystemCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $Request.collectionId) | Select-Object -First 1
    if ($null -eq $collection) {
        $named = @(Get-CimInstance -Namespace $namespace -ClassName Msvm_VirtualSystemCollection -Filter (Format-GcbFilter -Property 'ElementName' -Value $Request.name))
        if ($named.Count -gt 1) {
            Stop-GcbVerb -Code 'HV_COLLECTION_AMBIGUOUS' -Subject $Request.name -Message "There are $($named.Count) collections named $($Request.name)." -Remedy 'Remove the ones that are not in use (Get-VMGroup, Remove-VMGroup), then run again.'
        }
        if ($named.Count -eq 1) { $collection = $named[0] }
    }
    if ($null -eq $collection) {
        $outcome = Invoke-GcbMethod -Target $service -MethodName DefineCollection -Arguments @{ Name = [string]$Request.name; Id = [string]$Request.collectionId; Type = [uint16]0 } -Subject $Request.name -TimeoutMs $timeoutMs
        $collection = Get-GcbResult -Outcome $outcome -Parameter 'DefinedCollection' -ClassName Msvm_VirtualSystemCollection
    }
    if ($null -eq $collection) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.name -Message "The collection $($Request.name) was defined but is not there." -Remedy 'Check that ConfigStoreRootPath is set and reachable from this node.'
    }
    $wanted = @($Request.vmIds)
    $present = @(Get-CimAssociatedInstance -InputObject $collection -Association Msvm_CollectedVirtualSystems -ResultClassName Msvm_ComputerSystem)
    $removed = New-Object -TypeName System.Collections.ArrayList
    $added = New-Object -TypeName System.Collections.ArrayList
    foreach ($member in $present) {
        $vmId = ConvertTo-GcbGuid -Text ([string]$member.Name)
        if ($wanted -contains $vmId) { continue }
        [void](Invoke-GcbMethod -Target $service -MethodName RemoveMember -Arguments @{ Member = $member; Collection = $collection } -Subject $vmId -TimeoutMs $timeoutMs)
        [void]$removed.Add($vmId)
    }
    $presentIds = @($present | ForEach-Object -Process { ConvertTo-GcbGuid -Text ([string]$_.Name) })
    foreach ($vmId in $wanted) {
        if ($presentIds -contains $vmId) { continue }
        $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $system) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $vmId -Message "VM $vmId is not known in namespace $namespace." -Remedy 'Check where the VM runs; members on other nodes need collectionNamespace root\HyperVCluster\v2.'
        }
        [void](Invoke-GcbMethod -Target $service -MethodName AddMember -Arguments @{ Member = $system; Collection = $collection } -Subject $vmId -TimeoutMs $timeoutMs)
        [void]$added.Add($vmId)
    }
    [ordered]@{ collectionId = [string]$collection.CollectionID; added = $added.ToArray(); removed = $removed.ToArray() }
}
